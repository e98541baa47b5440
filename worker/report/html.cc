#include "worker/report/html.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

#include "worker/telemetry/display.h"

namespace filigree::report {

std::string Escape(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : telemetry::Printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string JsonText(const std::string& text) {
  std::string out = "\"";
  for (const char c : telemetry::Printable(text)) {
    // '<' would let a text end the element, '\n' and '\t' are no JSON.
    if (c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == '\n' || c == '\t')
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + "\"";
}

std::string Number(double x) {
  if (!std::isfinite(x)) return "-";
  if (x != 0 && (std::abs(x) < 1e-4 || std::abs(x) >= 1e7)) return fmt::format("{:.3g}", x);
  if (std::abs(x) >= 1e4) return fmt::format("{:.0f}", x);
  return fmt::format("{:.4g}", x);
}

std::string ShortNumber(double x) {
  if (!std::isfinite(x)) return "-";
  constexpr std::string_view kLetters = "kMGTP";
  double shown = std::abs(x);
  size_t letter = 0;
  // 999.5 would be printed with four digits already.
  for (; shown >= 999.5 && letter < kLetters.size(); ++letter) shown /= 1000;
  if (letter == 0) return Number(x);
  return fmt::format("{}{:.3g}{}", x < 0 ? "-" : "", shown, kLetters[letter - 1]);
}

std::string Count(int64_t n) {
  std::string digits = fmt::format("{}", n);
  const int64_t first = n < 0 ? 1 : 0;
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > first; at -= 3)
    digits.insert(static_cast<size_t>(at), 1, ',');
  return digits;
}

std::string Percent(double share) { return std::isfinite(share) ? fmt::format("{:.3g}%", 100 * share) : "-"; }

std::string Density(double density) {
  if (!std::isfinite(density) || density <= 0) return Number(density);
  const double inverse = 1 / density;
  if (inverse < 1.5 || std::abs(inverse - std::round(inverse)) > 1e-3 * inverse || inverse > 1e6)
    return Number(density);
  return fmt::format("1/{:.0f}", inverse);
}

}  // namespace filigree::report
