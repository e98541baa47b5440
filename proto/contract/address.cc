#include "proto/contract/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>

#include "proto/contract/ids.h"

namespace filigree::contract {

bool IsLoopback(const std::string& host) {
  in_addr v4 = {};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6 = {};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

absl::StatusOr<HostPort> ParseAddress(std::string_view what, std::string_view text) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} is no address; write HOST:PORT or [IPV6]:PORT, e.g. 127.0.0.1:7070", what, Shown(text)));
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return wrong();
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const bool digits = !port.empty() && port.size() <= 5 &&
                      std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  const auto fits = [&](char c) { return IsId(std::string_view(&c, 1)) || (bracketed && c == ':'); };
  if (!digits || host.size() > 255 || !std::all_of(host.begin(), host.end(), fits)) return wrong();
  int number = 0;
  for (const char c : port) number = number * 10 + (c - '0');
  if (number > 65535) return wrong();
  return HostPort{std::string(host), number};
}

std::string AddressText(const HostPort& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", v6 ? "[" : "", address.host, v6 ? "]" : "", address.port);
}

}  // namespace filigree::contract
