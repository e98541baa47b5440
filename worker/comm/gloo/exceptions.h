#ifndef FILIGREE_WORKER_COMM_GLOO_EXCEPTIONS_H_
#define FILIGREE_WORKER_COMM_GLOO_EXCEPTIONS_H_

#include <exception>
#include <string>

// Gloo reports by exceptions; none of them leaves the function that calls it. Inside filigree_gloo.so only.

namespace filigree::comm {

// What went wrong, without the place in Gloo's sources that stands in front.
inline std::string Words(const std::exception& error) {
  const std::string text = error.what();
  const size_t end = text.find("] ");
  return text.starts_with('[') && end != std::string::npos ? text.substr(end + 2) : text;
}

// Calls it; returns whether that went well, and if not, why in `words`.
template <typename Call>
bool Calls(const Call& call, std::string* words) {
  try {
    call();
    return true;
  } catch (const std::exception& error) {
    *words = Words(error);
  }
  return false;
}

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_GLOO_EXCEPTIONS_H_
