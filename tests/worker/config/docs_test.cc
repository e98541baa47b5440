#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "worker/config/keys.h"
#include "worker/config/value.h"

// docs/formats/config.md lists the keys that there are, with their defaults and what a resume may change.

namespace filigree::config {
namespace {

std::string Page() {
  std::ostringstream text;
  text << std::ifstream(FILIGREE_CONFIG_PAGE).rdbuf();
  return text.str();
}

TEST(ConfigPage, HasARowForEveryKey) {
  const std::string page = Page();
  size_t rows = 0;
  for (size_t at = page.find("\n| `"); at != std::string::npos; at = page.find("\n| `", at + 1)) ++rows;
  EXPECT_EQ(rows, Keys().size());
  for (const Key& key : Keys()) {
    const size_t begin = page.find("\n| `" + key.name + "` | ");
    ASSERT_NE(begin, std::string::npos) << key.name;
    const std::string row = page.substr(begin + 1, page.find('\n', begin + 1) - begin - 1);
    EXPECT_NE(row.find(" | " + key.help), std::string::npos) << row;
    EXPECT_EQ(row.substr(row.size() - 4) == " * |", key.on_resume == OnResume::kFree) << row;
    const bool list = std::holds_alternative<WordsField>(key.field);
    EXPECT_NE(row.find(list ? "| all eight |" : "| `" + FormatValue(key, DefaultSettings()) + "` |"), std::string::npos)
        << row;
  }
  for (const std::string& place : TopkPlaces()) EXPECT_NE(page.find("`" + place + "`"), std::string::npos);
}

}  // namespace
}  // namespace filigree::config
