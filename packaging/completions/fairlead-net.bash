# bash completion of fairlead-net

_fairlead_net() {
  local word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]}
  # Readline makes `=` a word of its own.
  if [[ $word == = ]]; then
    word=
  elif [[ $option == = ]]; then
    option=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case $option in
    --firewall) mapfile -t COMPREPLY < <(compgen -W 'auto nftables iptables none' -- "$word") ;;
    --mode) mapfile -t COMPREPLY < <(compgen -W 'proxy dnat both' -- "$word") ;;
    --forwarding) mapfile -t COMPREPLY < <(compgen -W 'all interface' -- "$word") ;;
    --state-dir | --proxy | --netns | apply)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      ;;
    --adopt) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net)" -- "$word") ;;
    --subnet | --gateway | --ip-range | --bridge | --mtu | --allow-networks | --host-binding | --ifname) ;;
    --ip | --mac | --interval) ;;
    network) mapfile -t COMPREPLY < <(compgen -W 'create ls inspect rm' -- "$word") ;;
    *)
      mapfile -t COMPREPLY < <(compgen -W '
        network attach detach publish unpublish apply reload status check
        --json --dry-run --firewall --state-dir --proxy --subnet --gateway --ip-range --bridge
        --adopt --mtu --internal --no-icc --no-masquerade --allow-networks --host-binding --mode
        --forwarding --netns --ifname --ip --mac --all --watch --interval
        --version --help' -- "$word")
      ;;
  esac
} && complete -F _fairlead_net fairlead-net
