#ifndef FILIGREE_WORKER_CLI_PRINT_H_
#define FILIGREE_WORKER_CLI_PRINT_H_

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

#include "worker/telemetry/display.h"

// What a subcommand says. Unlike fmt::print it never throws: a stream that is closed, full, or a pipe whose reader has
// left loses the words and not the work. Whether a result on stdout arrived is asked once, in main.cc.

namespace filigree::cli {

template <typename... Args>
void Print(std::FILE* stream, fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  std::fwrite(text.data(), 1, text.size(), stream);
}

template <typename... Args>
void Print(fmt::format_string<Args...> format, Args&&... args) {
  Print(stdout, format, std::forward<Args>(args)...);
}

// "filigree: WORDS" on stderr. What a user typed may be among them: a terminal sees its control characters as \x1b.
template <typename... Args>
void Say(fmt::format_string<Args...> format, Args&&... args) {
  Print(stderr, "filigree: {}\n", telemetry::Escaped(fmt::format(format, std::forward<Args>(args)...)));
}

// JSON on one line; bytes that are not UTF-8 (a path may have some) become U+FFFD.
template <typename Json>
std::string OneLine(const Json& json) {
  return json.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_PRINT_H_
