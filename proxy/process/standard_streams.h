// Descriptors 0 to 2.

#pragma once

namespace fairlead {

/// Opens /dev/null in the place of a standard stream that is closed. Otherwise a socket would
/// become descriptor 2, and the log would be written to a client. Call after what was passed in on
/// higher descriptors has been looked at, and before anything else is opened.
void fill_standard_streams();

}  // namespace fairlead
