#include "worker/config/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "worker/config/nearest.h"
#include "worker/config/text.h"

namespace filigree::config {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

constexpr std::string_view kAuto = "auto";

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

template <typename T>
std::optional<T> WholeNumber(std::string_view text) {
  T value{};
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0.5", "1e-3" or "1/64".
std::optional<double> Number(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return WholeNumber<double>(Trim(text));
  const auto above = WholeNumber<double>(Trim(text.substr(0, slash)));
  const auto below = WholeNumber<double>(Trim(text.substr(slash + 1)));
  if (!above || !below || *below == 0) return std::nullopt;
  return *above / *below;
}

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> words;
  if (Trim(text).empty()) return words;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    words.emplace_back(Trim(text.substr(begin, comma - begin)));
    begin = comma + 1;
  }
  return words;
}

std::string Joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

std::string Shown(const Raw& raw) {
  return std::visit(Overloaded{[](int64_t x) { return fmt::format("{}", x); }, [](double x) { return FormatReal(x); },
                               [](bool x) { return std::string(x ? "true" : "false"); },
                               [](const std::string& x) { return Quoted(x); },
                               [](const std::vector<std::string>&) { return std::string("a list"); }},
                    raw);
}

std::string Interval(const RealField& field) {
  const bool low_out = field.bounds == Bounds::kOpenLow || field.bounds == Bounds::kOpen;
  const bool high_out = field.bounds == Bounds::kOpenHigh || field.bounds == Bounds::kOpen;
  return fmt::format("a number {} {} and {} {}", low_out ? "above" : "of at least", field.low,
                     high_out ? "below" : "at most", field.high);
}

std::string Expected(const Key& key) {
  return std::visit(
      Overloaded{[](const IntField& f) { return fmt::format("a whole number from {} to {}", f.low, f.high); },
                 [](const RealField& f) {
                   return Interval(f) + ", or a fraction as in \"1/64\"" + (f.may_be_auto ? ", or \"auto\"" : "");
                 },
                 [](const BoolField&) { return std::string("true or false"); },
                 [](const TextField& f) {
                   return std::string(f.one_line ? "a line of text in quotes, as in \"runs/first\"" : "text in quotes");
                 },
                 [](const WordsField& f) { return fmt::format("a list of words among {}", Joined(f.words)); },
                 [](const ChoiceField& f) { return fmt::format("one of {}", Joined(f.words)); }},
      key.field);
}

std::string UnknownWord(const Key& key, const std::string& word, const std::vector<std::string>& words) {
  return fmt::format("{} has the unknown word {}, the nearest known one is {}; expected {}", key.name, Quoted(word),
                     NearestWord(word, words), Expected(key));
}

// One type of field each: true where the value was taken.
struct Store {
  const Key& key;
  const Raw& raw;
  Settings& settings;

  std::string operator()(const IntField& field) const {
    const auto* value = std::get_if<int64_t>(&raw);
    if (value == nullptr) return Wrong(key, Shown(raw));
    field.at.edit(settings) = *value;
    return {};
  }
  std::string operator()(const RealField& field) const {
    std::optional<double> value;
    if (const auto* whole = std::get_if<int64_t>(&raw)) value = static_cast<double>(*whole);
    if (const auto* real = std::get_if<double>(&raw)) value = *real;
    if (const auto* text = std::get_if<std::string>(&raw)) value = Number(*text);
    if (value == 0 && field.may_be_auto) value.reset();  // 0 itself would be taken for the word
    if (raw == Raw(std::string(kAuto)) && field.may_be_auto) value = 0;
    if (!value) return Wrong(key, Shown(raw));
    field.at.edit(settings) = *value;
    return {};
  }
  std::string operator()(const BoolField& field) const {
    const auto* value = std::get_if<bool>(&raw);
    if (value == nullptr) return Wrong(key, Shown(raw));
    field.at.edit(settings) = *value;
    return {};
  }
  std::string operator()(const TextField& field) const {
    const auto* value = std::get_if<std::string>(&raw);
    if (value == nullptr) return Wrong(key, Shown(raw));
    field.at.edit(settings) = *value;
    return {};
  }
  std::string operator()(const WordsField& field) const {
    const auto* value = std::get_if<std::vector<std::string>>(&raw);
    if (value == nullptr) return Wrong(key, Shown(raw));
    field.at.edit(settings) = *value;
    return {};
  }
  std::string operator()(const ChoiceField& field) const {
    const auto* value = std::get_if<std::string>(&raw);
    if (value == nullptr) return Wrong(key, Shown(raw));
    const auto found = std::find(field.words.begin(), field.words.end(), *value);
    if (found == field.words.end()) return UnknownWord(key, *value, field.words);
    field.set(settings, static_cast<int>(found - field.words.begin()));
    return {};
  }
};

std::string CheckText(const Key& key, const std::string& text, bool one_line) {
  constexpr size_t kLongest = 4096;
  if (text.size() > kLongest)
    return fmt::format("{} has {} bytes, at most {} are taken", key.name, text.size(), kLongest);
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(std::string_view(text).substr(i));
    if (length == 0) return fmt::format("{} is {}, which is not UTF-8 at byte {}", key.name, Quoted(text), i);
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0 || (one_line && (byte < 0x20 || byte == 0x7f)))
      return fmt::format("{} is {}, which has a control character at byte {}", key.name, Quoted(text), i);
    i += length;
  }
  return {};
}

}  // namespace

Raw FromText(const Key& key, std::string_view text) {
  const std::string_view trimmed = Trim(text);
  if (std::holds_alternative<IntField>(key.field)) {
    if (const auto value = WholeNumber<int64_t>(trimmed)) return *value;
  } else if (std::holds_alternative<BoolField>(key.field)) {
    if (trimmed == "true" || trimmed == "false") return trimmed == "true";
  } else if (std::holds_alternative<WordsField>(key.field)) {
    return Split(text);
  }
  return std::string(text);
}

std::string Set(const Key& key, const Raw& raw, Settings& settings) {
  const std::string wrong = std::visit(Store{key, raw, settings}, key.field);
  return wrong.empty() ? CheckRange(key, settings) : wrong;
}

std::string Wrong(const Key& key, const std::string& shown) {
  return fmt::format("{} is {}, expected {}; the default is {}", key.name, shown, Expected(key),
                     FormatValue(key, DefaultSettings()));
}

std::string CheckRange(const Key& key, const Settings& settings) {
  if (const auto* field = std::get_if<IntField>(&key.field)) {
    const int64_t x = field->at.read(settings);
    if (x < field->low || x > field->high) return Wrong(key, fmt::format("{}", x));
  } else if (const auto* field = std::get_if<RealField>(&key.field)) {
    const double x = field->at.read(settings);
    const bool low_out = field->bounds == Bounds::kOpenLow || field->bounds == Bounds::kOpen;
    const bool high_out = field->bounds == Bounds::kOpenHigh || field->bounds == Bounds::kOpen;
    const bool inside = (low_out ? x > field->low : x >= field->low) && (high_out ? x < field->high : x <= field->high);
    if (!inside && !(field->may_be_auto && x == 0)) return Wrong(key, FormatReal(x));
  } else if (const auto* field = std::get_if<TextField>(&key.field)) {
    return CheckText(key, field->at.read(settings), field->one_line);
  } else if (const auto* field = std::get_if<WordsField>(&key.field)) {
    const std::vector<std::string>& words = field->at.read(settings);
    for (auto word = words.begin(); word != words.end(); ++word) {
      if (std::find(field->words.begin(), field->words.end(), *word) == field->words.end())
        return UnknownWord(key, *word, field->words);
      if (std::find(words.begin(), word, *word) != word) return fmt::format("{} names {} twice", key.name, *word);
    }
  } else if (const auto* field = std::get_if<ChoiceField>(&key.field)) {
    const int choice = field->get(settings);
    if (choice < 0 || choice >= static_cast<int>(field->words.size())) return Wrong(key, fmt::format("{}", choice));
  }
  return {};
}

std::string FormatReal(double x) {
  std::string text = fmt::format("{}", x);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

std::string FormatValue(const Key& key, const Settings& settings) {
  return std::visit(
      Overloaded{[&](const IntField& f) { return fmt::format("{}", f.at.read(settings)); },
                 [&](const RealField& f) {
                   const double x = f.at.read(settings);
                   return f.may_be_auto && x == 0 ? QuotedToml(std::string(kAuto)) : FormatReal(x);
                 },
                 [&](const BoolField& f) { return std::string(f.at.read(settings) ? "true" : "false"); },
                 [&](const TextField& f) { return QuotedToml(f.at.read(settings)); },
                 [&](const WordsField& f) {
                   std::vector<std::string> quoted;
                   for (const std::string& word : f.at.read(settings)) quoted.push_back(QuotedToml(word));
                   return fmt::format("[{}]", fmt::join(quoted, ", "));
                 },
                 [&](const ChoiceField& f) { return QuotedToml(f.words[static_cast<size_t>(f.get(settings))]); }},
      key.field);
}

}  // namespace filigree::config
