# fish completion of fairlead-proxy

complete -c fairlead-proxy -f
complete -c fairlead-proxy -s p -l publish -x -d 'publish a port or a range'
complete -c fairlead-proxy -l engine -x -a 'auto io_uring epoll' -d 'how to wait for the kernel'
complete -c fairlead-proxy -l relay -x -a 'auto copy splice' -d 'how TCP bytes are moved'
complete -c fairlead-proxy -l connect-timeout -x -d 'how long a container may take to accept'
complete -c fairlead-proxy -l udp-timeout -x -d 'when an idle UDP session ends'
complete -c fairlead-proxy -l container-netns -r -a 'auto' -d 'dial from inside the network namespace of the container'
complete -c fairlead-proxy -l proxy-protocol -x -a 'none v1 v2' -d 'tell containers who the client is'
complete -c fairlead-proxy -l accept-proxy-protocol -x -d 'front ends that tell who the client is'
complete -c fairlead-proxy -l max-connections -x -d 'TCP and SCTP connections at a time'
complete -c fairlead-proxy -l max-udp-sessions -x -d 'UDP sessions at a time'
complete -c fairlead-proxy -l log-level -x -a 'trace debug info warn error off' -d 'what is logged'
complete -c fairlead-proxy -l log-format -x -a 'text json' -d 'how it is logged'
complete -c fairlead-proxy -l config -r -F -d 'read options from this file'
complete -c fairlead-proxy -s v -l version -d 'print version information'
complete -c fairlead-proxy -s h -l help -d 'print the options'
