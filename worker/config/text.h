#ifndef FILIGREE_WORKER_CONFIG_TEXT_H_
#define FILIGREE_WORKER_CONFIG_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>

// Text of settings: what is UTF-8, and how TOML writes it.

namespace filigree::config {

// Length of the well-formed UTF-8 sequence at the start of `text`, 0 where there is none.
size_t Utf8Length(std::string_view text);

// `text`, which is UTF-8, as a basic string of TOML.
std::string QuotedToml(const std::string& text);

}  // namespace filigree::config

#endif  // FILIGREE_WORKER_CONFIG_TEXT_H_
