#compdef fairlead-net

_fairlead_net_operand() {
  if (( ${words[(I)network]} )); then compadd create ls inspect rm; else _files; fi
}

_arguments -s -S \
  '1:command:(network attach detach publish unpublish apply reload status check)' \
  '2:operand:_fairlead_net_operand' \
  '*:operand:_files' \
  '--json[print JSON]' \
  '--dry-run[print what would be done]' \
  '--firewall=[what carries the rules]:backend:(auto nftables iptables none)' \
  '--state-dir=[where the state is kept]:directory:_files -/' \
  '--proxy=[the fairlead-proxy to start]:file:_files' \
  '*--subnet=[a subnet of the network]:prefix' \
  "*--gateway=[the host's address in a subnet]:address" \
  '--ip-range=[where automatic addresses are taken from]:prefix' \
  '--bridge=[name of the bridge to make]:interface' \
  '--adopt=[a bridge that is there]:interface:_net_interfaces' \
  '--mtu=[of the bridge and the links]:number' \
  '--internal[no way in or out but from the host]' \
  '--no-icc[containers do not reach one another]' \
  "--no-masquerade[packets leave with the containers' addresses]" \
  '--allow-networks=[networks that may connect to this one]:names' \
  '--host-binding=[host address of published ports]:address' \
  '--mode=[what serves published ports]:mode:(proxy dnat both)' \
  '--forwarding=[where the host is made a router]:extent:(all interface)' \
  "--netns=[the container's network namespace]:namespace:_files" \
  '--ifname=[name of the link inside the container]:interface' \
  '*--ip=[an address of the container]:address' \
  "--mac=[the container's hardware address]:address" \
  '--all[every port of the container]' \
  '--watch[published ports with their rates, again and again]' \
  '--interval=[seconds between two looks]:seconds' \
  '(- *)--version[print version information]' \
  '(- *)--help[print commands and options]'
