// Linked into the static proxy only. Boost.Program_options includes <iostream>, so std::cin,
// std::cout and the six others would be made before main(), with a locale and all its facets: a
// tenth of the time to start and 8 kB of each idle proxy, for streams that nothing here writes to
// or reads from.

#include <ios>

// The stream objects are no longer usable: the proxy has write(2), see main.cpp and log/.
#if _GLIBCXX_RELEASE >= 13
// A file of the library makes them, which <iostream> has linked in by a reference to this.
namespace std {
void ios_base_library_init();
void ios_base_library_init() {}
}  // namespace std
#else
std::ios_base::Init::Init() = default;
std::ios_base::Init::~Init() = default;
#endif
