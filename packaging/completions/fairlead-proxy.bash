# bash completion of fairlead-proxy

_fairlead_proxy() {
  local word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]}
  # Readline makes `=` a word of its own.
  if [[ $word == = ]]; then
    word=
  elif [[ $option == = ]]; then
    option=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case $option in
    --engine) mapfile -t COMPREPLY < <(compgen -W 'auto io_uring epoll' -- "$word") ;;
    --relay) mapfile -t COMPREPLY < <(compgen -W 'auto copy splice' -- "$word") ;;
    --proxy-protocol) mapfile -t COMPREPLY < <(compgen -W 'none v1 v2' -- "$word") ;;
    --log-level)
      mapfile -t COMPREPLY < <(compgen -W 'trace debug info warn error off' -- "$word")
      ;;
    --log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$word") ;;
    --container-netns)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -W 'auto' -f -- "$word")
      ;;
    --user) mapfile -t COMPREPLY < <(compgen -u -- "$word") ;;
    --source) mapfile -t COMPREPLY < <(compgen -W 'gateway client container' -- "$word") ;;
    --config | --handover | --metrics)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      ;;
    -p | --publish | --workers | --connect-timeout | --udp-timeout | --idle-timeout | \
      --half-closed-timeout | --accept-proxy-protocol | --allow | --deny | --max-connections | \
      --max-connections-per-client | --max-udp-sessions | --drain | --handover-drain) ;;
    *)
      mapfile -t COMPREPLY < <(compgen -W '
        -p --publish --engine --relay --workers --connect-timeout --udp-timeout --idle-timeout
        --half-closed-timeout --container-netns --source --proxy-protocol --accept-proxy-protocol
        --allow --deny --max-connections --max-connections-per-client --max-udp-sessions --drain
        --handover-drain --handover --user --metrics
        --log-level --log-format --config -v --version -h --help' -- "$word")
      ;;
  esac
} && complete -F _fairlead_proxy fairlead-proxy
