#compdef fairlead-docker

_arguments -s -S \
  '1:command:((enable\:"use fairlead-proxy" disable\:"put back what was there" status\:"say what is set"))' \
  '--config=[configuration of the daemon]:file:_files' \
  '--proxy=[the proxy to use]:file:_files' \
  '(- *)'{-v,--version}'[print version information]' \
  '(- *)'{-h,--help}'[print the options]'
