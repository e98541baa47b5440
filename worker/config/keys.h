#ifndef FILIGREE_WORKER_CONFIG_KEYS_H_
#define FILIGREE_WORKER_CONFIG_KEYS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "worker/config/settings.h"

// The one table of keys: what each is called, where it lives in Settings, which values it takes, what it means, and
// whether a resumed run may change it. Reading, printing, checking and comparing settings all walk this table, so a key
// is added in two places only: its field in settings.h and its row in keys.cc.

namespace filigree::config {

// Where a key lives: both functions give the same field.
template <typename T>
struct At {
  T& (*edit)(Settings&);
  const T& (*read)(const Settings&);
};

struct IntField {
  At<int64_t> at;
  int64_t low, high;  // both allowed
};

enum class Bounds { kClosed, kOpenLow, kOpenHigh, kOpen };  // which end of a real interval is left out

struct RealField {
  At<double> at;
  double low, high;
  Bounds bounds;
  bool may_be_auto;  // "auto", kept as 0, which is no number of the interval, until the settings are resolved
};

struct BoolField {
  At<bool> at;
};

struct TextField {
  At<std::string> at;
  bool one_line;  // no control characters
};

// A set of words, in the order given, none twice.
struct WordsField {
  At<std::vector<std::string>> at;
  std::vector<std::string> words;
};

// One of several words; `set` and `get` speak the index into words.
struct ChoiceField {
  int (*get)(const Settings&);
  void (*set)(Settings&, int);
  std::vector<std::string> words;
};

using Field = std::variant<IntField, RealField, BoolField, TextField, WordsField, ChoiceField>;

enum class OnResume {
  kFixed,  // alters what the run computes
  kFree    // says where, how fast or how often it is looked at
};

struct Key {
  std::string name;  // "section.key"
  OnResume on_resume;
  std::string help;
  Field field;

  std::string section() const { return name.substr(0, name.find('.')); }
  std::string key() const { return name.substr(name.find('.') + 1); }
};

// All keys; those of one section stand together.
const std::vector<Key>& Keys();

// The key of that name, or null.
const Key* FindKey(std::string_view name);

// What a configuration says that names no key: the fields' own defaults, and "auto" where a key may be that. (A field's
// own default is what the exact regime takes, so that settings that code puts together need not be resolved.)
Settings DefaultSettings();

// Every known place of AbsTopK (model.topk_places).
const std::vector<std::string>& TopkPlaces();

}  // namespace filigree::config

#endif  // FILIGREE_WORKER_CONFIG_KEYS_H_
