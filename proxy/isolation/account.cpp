#include "proxy/isolation/account.h"

#include <grp.h>
#include <pwd.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "proxy/mapping/decimal.h"

namespace fairlead {
namespace {

using File = std::unique_ptr<FILE, int (*)(FILE*)>;

/// -1 is "leave as it is" to the kernel, and nobody's number.
std::optional<std::uint32_t> number_of(std::string_view text) {
  const auto number = parse_decimal<std::uint32_t>(text);
  return number == UINT32_MAX ? std::nullopt : number;
}

struct User {
  uid_t uid;
  std::optional<gid_t> gid;
};

std::optional<User> find_user(std::string_view text) {
  const auto number = number_of(text);
  const File file(std::fopen("/etc/passwd", "re"), std::fclose);
  if (file) {
    while (const passwd* entry = ::fgetpwent(file.get())) {
      if (number ? entry->pw_uid == *number : entry->pw_name == text) {
        return User{entry->pw_uid, entry->pw_gid};
      }
    }
  }
  if (!number) return std::nullopt;
  return User{*number, std::nullopt};
}

std::optional<gid_t> find_group(std::string_view text) {
  if (const auto number = number_of(text)) return number;
  const File file(std::fopen("/etc/group", "re"), std::fclose);
  if (!file) return std::nullopt;
  while (const group* entry = ::fgetgrent(file.get())) {
    if (entry->gr_name == text) return entry->gr_gid;
  }
  return std::nullopt;
}

}  // namespace

Result<Account> Account::parse(std::string_view text) {
  const std::size_t colon = text.find(':');
  const auto user = find_user(text.substr(0, colon));
  const auto group =
      colon == text.npos ? (user ? user->gid : std::nullopt) : find_group(text.substr(colon + 1));
  if (!user || !group) {
    return failed(
        "accepted: a user of /etc/passwd, or a user and a group of /etc/group with a colon between "
        "them; each may be a number");
  }
  return Account{user->uid, *group};
}

}  // namespace fairlead
