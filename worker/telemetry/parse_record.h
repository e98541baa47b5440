#ifndef FILIGREE_WORKER_TELEMETRY_PARSE_RECORD_H_
#define FILIGREE_WORKER_TELEMETRY_PARSE_RECORD_H_

#include <cstdint>
#include <string>

#include "worker/telemetry/read_log.h"

// What a line of a log is.

namespace filigree::telemetry {

enum class LineKind {
  kRecord,   // one of ours
  kUnknown,  // a record of a kind that this version does not know
  kDamaged   // neither
};

// `record` is set where the line is a record, `step` where it is not damaged.
LineKind ReadLine(const std::string& line, Record& record, int64_t& step);

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_PARSE_RECORD_H_
