// fmt, compiled once.
//
// Debian's libfmt-dev has a shared library, which a static executable cannot link, and headers.
// With FMT_HEADER_ONLY each of our files would compile all of fmt: four seconds a file, twelve
// under the sanitizers. So this file alone includes its implementation, as fmt's own library does.

#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {

template FMT_API auto locale_ref::get<std::locale>() const -> std::locale;
template FMT_API auto thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template FMT_API auto decimal_point_impl(locale_ref) -> char;
#if FMT_VERSION < 110000  // No template since.
template FMT_API void vformat_to(buffer<char>&, string_view,
                                 basic_format_args<buffer_context<char>>, locale_ref);
#endif

}  // namespace detail
FMT_END_NAMESPACE
