# bash completion of fairlead-docker

_fairlead_docker() {
  local word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]}
  # Readline makes `=` a word of its own.
  if [[ $word == = ]]; then
    word=
  elif [[ $option == = ]]; then
    option=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case $option in
    --config | --proxy)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      ;;
    *)
      mapfile -t COMPREPLY < <(compgen -W '
        enable disable status --config --proxy -v --version -h --help' -- "$word")
      ;;
  esac
} && complete -F _fairlead_docker fairlead-docker
