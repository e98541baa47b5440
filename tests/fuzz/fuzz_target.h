#ifndef FILIGREE_TESTS_FUZZ_FUZZ_TARGET_H_
#define FILIGREE_TESTS_FUZZ_FUZZ_TARGET_H_

#include <string>
#include <string_view>
#include <vector>

// A fuzz target is one parser of outside bytes: a file NAME_fuzz.cc with these two functions.

namespace filigree::fuzz {

// Good input, from which mutations begin. The same in every process.
std::vector<std::string> Seeds();

// Hands `input` to the parser. Whatever it is, the process lives on (no signal, no exception, no finding of a
// sanitizer); where it is taken, what the target promises holds (CHECK).
void Try(std::string_view input);

}  // namespace filigree::fuzz

#endif  // FILIGREE_TESTS_FUZZ_FUZZ_TARGET_H_
