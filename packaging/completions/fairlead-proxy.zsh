#compdef fairlead-proxy

_fairlead_netns() {
  _alternative 'ways:way:(auto pid\: name\:)' 'files:file:_files'
}

_arguments -s -S \
  '*'{-p+,--publish=}'[publish a port or a range]:mapping ([HOST-IP\:]PORT[-END]\:CONTAINER-IP\:PORT[-END][/PROTOCOL])' \
  '--engine=[how to wait for the kernel]:engine:(auto io_uring epoll)' \
  '--relay=[how TCP bytes are moved]:way:(auto copy splice)' \
  '--workers=[threads that TCP connections may keep busy]:number:' \
  '--connect-timeout=[how long a container may take to accept]:seconds' \
  '--udp-timeout=[when an idle UDP session ends]:seconds' \
  '--idle-timeout=[when a silent connection ends]:seconds' \
  '--half-closed-timeout=[when a silent half-closed connection ends]:seconds' \
  '--container-netns=[dial from inside the network namespace of the container]:namespace:_fairlead_netns' \
  '--source=[what the service sees as its client]:address:(gateway client container)' \
  '--proxy-protocol=[tell containers who the client is]:version:(none v1 v2)' \
  '*--accept-proxy-protocol=[front ends that tell who the client is]:addresses' \
  '*--allow=[clients that are served]:addresses' \
  '*--deny=[clients that are not served]:addresses' \
  '--max-connections=[TCP and SCTP connections at a time]:number' \
  '--max-connections-per-client=[the same, of one client]:number' \
  '--max-udp-sessions=[UDP sessions at a time]:number' \
  '--drain=[how long connections may go on at the end]:seconds' \
  '--handover-drain=[how long connections may go on after a handover]:seconds' \
  '--handover=[socket by which a new proxy takes over]:file:_files' \
  '--user=[the user to serve as]:user:_users' \
  '--metrics=[where Prometheus reads the counters]:address' \
  '--log-level=[what is logged]:level:(trace debug info warn error off)' \
  '--log-format=[how it is logged]:format:(text json)' \
  '--config=[read options from this file]:file:_files' \
  '(- *)'{-v,--version}'[print version information]' \
  '(- *)'{-h,--help}'[print the options]'
