# fish completion of fairlead-docker

complete -c fairlead-docker -f
complete -c fairlead-docker -n __fish_use_subcommand -a enable -d 'use fairlead-proxy'
complete -c fairlead-docker -n __fish_use_subcommand -a disable -d 'put back what was there'
complete -c fairlead-docker -n __fish_use_subcommand -a status -d 'say what is set'
complete -c fairlead-docker -l config -r -F -d 'configuration of the daemon'
complete -c fairlead-docker -l proxy -r -F -d 'the proxy to use'
complete -c fairlead-docker -s v -l version -d 'print version information'
complete -c fairlead-docker -s h -l help -d 'print the options'
