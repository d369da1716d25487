// Linked into the static proxy only. Boost.Program_options includes <iostream>, so std::cin,
// std::cout and the six others would be made before main(), with a locale and all its facets: a
// tenth of the time to start and 8 kB of each idle proxy, for streams that nothing here writes to
// or reads from.

#include <ios>

// The stream objects are no longer usable: the proxy has write(2), see main.cpp and log/.
std::ios_base::Init::Init() = default;
std::ios_base::Init::~Init() = default;
