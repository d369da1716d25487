// Linked into the static proxy only. libnl can print and read names of hosts and of protocols,
// which the proxy never asks it to: without these, the resolver of glibc would come along, and a
// warning of the linker that the shared libraries it loads must be those of the machine it was
// linked on.

#include <netdb.h>

extern "C" {

int getaddrinfo(const char*, const char*, const addrinfo*, addrinfo**) { return EAI_FAIL; }
void freeaddrinfo(addrinfo*) noexcept {}
protoent* getprotobyname(const char*) { return nullptr; }
protoent* getprotobynumber(int) { return nullptr; }
}
