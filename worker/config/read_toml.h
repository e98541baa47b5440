#ifndef FILIGREE_WORKER_CONFIG_READ_TOML_H_
#define FILIGREE_WORKER_CONFIG_READ_TOML_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "worker/config/settings.h"

// TOML text into settings, key by key.

namespace filigree::config {

// Where each key was set, for messages: "FILE:LINE:COLUMN" or "--section.key=value".
using Places = std::map<std::string, std::string>;

// Sets what `text` names and checks the range of each value; rules that join keys are not checked. InvalidArgument: the
// problem that stands first in the file.
absl::Status ReadToml(std::string_view text, const std::string& name, Settings& settings, Places& places);

}  // namespace filigree::config

#endif  // FILIGREE_WORKER_CONFIG_READ_TOML_H_
