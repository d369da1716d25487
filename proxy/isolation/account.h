// The user and group that a proxy serves as.

#pragma once

#include <sys/types.h>

#include <string_view>

#include "proxy/mapping/error.h"

namespace fairlead {

struct Account {
  uid_t uid = 0;
  gid_t gid = 0;

  /// `USER` or `USER:GROUP`, each a name of /etc/passwd or /etc/group, or a number. Without a group
  /// it is the user's own; a number that is not in /etc/passwd has none. Other sources of accounts
  /// (LDAP, systemd-userdbd) are not asked: a static program cannot load what asks them.
  static Result<Account> parse(std::string_view text);

  bool operator==(const Account&) const = default;
};

}  // namespace fairlead
