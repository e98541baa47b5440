#ifndef FILIGREE_WORKER_CLIENT_JSON_H_
#define FILIGREE_WORKER_CLIENT_JSON_H_

#include <nlohmann/json.hpp>

#include "filigree/v1/coordinator.pb.h"

// The same for scripts: fields named as in proto/filigree/v1, numbers as numbers, states as words. docs/rpc.md lists
// them.

namespace filigree::client {

nlohmann::ordered_json JsonOf(const v1::Job& job);
nlohmann::ordered_json JsonOf(const v1::Worker& worker);
nlohmann::ordered_json JsonOf(const v1::Event& event);
nlohmann::ordered_json JsonOf(const v1::Progress& progress);

// One line; bytes that are no UTF-8 are replaced.
std::string LineOf(const nlohmann::ordered_json& json);

}  // namespace filigree::client

#endif  // FILIGREE_WORKER_CLIENT_JSON_H_
