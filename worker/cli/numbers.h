#ifndef FILIGREE_WORKER_CLI_NUMBERS_H_
#define FILIGREE_WORKER_CLI_NUMBERS_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/bench/limits.h"

namespace filigree::cli {

// Numbers that may be fractions come as text; `Numbers` reads them all before a benchmark runs.
class Numbers {
 public:
  void Add(CLI::App& app, const std::string& flag, double* value, const std::string& help) {
    auto text = std::make_shared<std::string>(CLI::detail::to_string(*value));
    app.add_option(flag, *text, help)->capture_default_str()->type_name("NUMBER");
    fields_.push_back({flag, text, value});
  }

  absl::Status Read() const {
    for (const Field& field : fields_) {
      const absl::StatusOr<double> value = bench::ParseNumber(field.flag, *field.text);
      if (!value.ok()) return value.status();
      *field.value = *value;
    }
    return absl::OkStatus();
  }

 private:
  struct Field {
    std::string flag;
    std::shared_ptr<std::string> text;
    double* value;
  };
  std::vector<Field> fields_;
};

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_NUMBERS_H_
