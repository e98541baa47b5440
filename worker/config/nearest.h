#ifndef FILIGREE_WORKER_CONFIG_NEAREST_H_
#define FILIGREE_WORKER_CONFIG_NEAREST_H_

#include <string>
#include <string_view>
#include <vector>

// Which known name somebody meant who wrote an unknown one.

namespace filigree::config {

// Insertions, deletions, substitutions and swaps of neighbours that turn a into b (each of cost 1; capitals are equal
// to small letters, '-' to '_').
int EditDistance(std::string_view a, std::string_view b);

// The word nearest to `name`; the first of several. Empty where there are no words.
std::string NearestWord(std::string_view name, const std::vector<std::string>& words);

// The "section.key" nearest to `name`, which may lack its section or have a wrong one: train.steps finds run.steps.
std::string NearestKey(std::string_view name);

// `text` for a message: quoted, printable, at most 80 bytes of it.
std::string Quoted(std::string_view text);

}  // namespace filigree::config

#endif  // FILIGREE_WORKER_CONFIG_NEAREST_H_
