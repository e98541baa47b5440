#include "worker/config/nearest.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "worker/config/keys.h"

namespace filigree::config {
namespace {

// Beyond this many characters a name is nothing anybody meant, and the table below would grow.
constexpr size_t kLongestName = 64;

char Fold(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  return c == '-' ? '_' : c;
}

}  // namespace

int EditDistance(std::string_view a, std::string_view b) {
  a = a.substr(0, kLongestName);
  b = b.substr(0, kLongestName);
  std::vector<std::vector<int>> d(a.size() + 1, std::vector<int>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = static_cast<int>(i);
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i)
    for (size_t j = 1; j <= b.size(); ++j) {
      const char x = Fold(a[i - 1]), y = Fold(b[j - 1]);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (x == y ? 0 : 1)});
      if (i > 1 && j > 1 && x == Fold(b[j - 2]) && y == Fold(a[i - 2]))
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

std::string NearestWord(std::string_view name, const std::vector<std::string>& words) {
  const auto nearer = [&](const std::string& x, const std::string& y) {
    return EditDistance(name, x) < EditDistance(name, y);
  };
  const auto best = std::min_element(words.begin(), words.end(), nearer);
  return best == words.end() ? std::string() : *best;
}

std::string NearestKey(std::string_view name) {
  const size_t dot = name.find('.');
  const std::string_view last = dot == std::string_view::npos ? name : name.substr(dot + 1);
  std::string best;
  int least = std::numeric_limits<int>::max();
  for (const Key& key : Keys()) {
    // The right key under a wrong section costs 1, however far the names of the sections are apart.
    const int distance = std::min(EditDistance(name, key.name), EditDistance(last, key.key()) + 1);
    if (distance < least) {
      least = distance;
      best = key.name;
    }
  }
  return best;
}

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out + (text.size() > kShown ? "...'" : "'");
}

}  // namespace filigree::config
