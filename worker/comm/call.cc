#include "worker/comm/call.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace filigree::comm {
namespace {

constexpr uint32_t kMagic = 0x46474331;  // "FGC1"

struct Fixed {
  uint32_t magic = kMagic;
  uint8_t kind = 0, type = 0, reduce = 0, what_bytes = 0;
  uint8_t refused = 0, unused[3] = {};
  int32_t root = 0;
  uint64_t number = 0;
  int64_t count = 0;
  uint64_t counts_digest = 0, sends = 0, expects = 0;
};
static_assert(sizeof(Fixed) == 56 && std::is_trivially_copyable_v<Fixed>);
constexpr size_t kTextBytes = kHeaderBytes - sizeof(Fixed);

}  // namespace

const char* Name(Kind kind) {
  switch (kind) {
    case Kind::kAllReduce:
      return "all-reduce";
    case Kind::kReduceScatter:
      return "reduce-scatter";
    case Kind::kAllGather:
      return "all-gather";
    case Kind::kAllToAll:
      return "all-to-all";
    case Kind::kBroadcast:
      return "broadcast";
    case Kind::kBarrier:
      return "barrier";
    case Kind::kStrings:
      return "all-gather of strings";
    case Kind::kSplit:
      return "split";
  }
  return "an unknown operation";
}

// A call that is refused says why instead of what it was for.
void WriteHeader(const Header& header, std::byte* to) {
  const Call& call = header.call;
  const std::string& text = call.refusal.empty() ? call.what : call.refusal;
  Fixed fixed;
  fixed.kind = static_cast<uint8_t>(call.kind);
  fixed.type = static_cast<uint8_t>(call.type);
  fixed.reduce = static_cast<uint8_t>(call.reduce);
  fixed.what_bytes = static_cast<uint8_t>(std::min(text.size(), kTextBytes));
  fixed.refused = call.refusal.empty() ? 0 : 1;
  fixed.root = call.root;
  fixed.number = call.number;
  fixed.count = call.count;
  fixed.counts_digest = call.counts_digest;
  fixed.sends = header.sends;
  fixed.expects = header.expects;
  std::memcpy(to, &fixed, sizeof(fixed));
  std::memcpy(to + sizeof(fixed), text.data(), fixed.what_bytes);
}

absl::Status ReadHeader(const std::byte* from, Header* header) {
  Fixed fixed;
  std::memcpy(&fixed, from, sizeof(fixed));
  const bool known = fixed.magic == kMagic && fixed.kind <= static_cast<uint8_t>(Kind::kSplit) &&
                     fixed.type <= static_cast<uint8_t>(ElementType::kUint64) &&
                     fixed.reduce <= static_cast<uint8_t>(ReduceOp::kMax) && fixed.what_bytes <= kTextBytes;
  if (!known) {
    return absl::FailedPreconditionError(
        "a message does not begin as one of this program; are all ranks of the same version?");
  }
  const std::string text(reinterpret_cast<const char*>(from) + sizeof(fixed), fixed.what_bytes);
  Call& call = header->call;
  call.kind = static_cast<Kind>(fixed.kind);
  call.type = static_cast<ElementType>(fixed.type);
  call.reduce = static_cast<ReduceOp>(fixed.reduce);
  call.root = fixed.root;
  call.number = fixed.number;
  call.count = fixed.count;
  call.counts_digest = fixed.counts_digest;
  (fixed.refused != 0 ? call.refusal : call.what) = text;
  header->sends = fixed.sends;
  header->expects = fixed.expects;
  return absl::OkStatus();
}

std::string Describe(const Call& call) {
  std::string text = Name(call.kind);
  const bool reduces = call.kind == Kind::kAllReduce || call.kind == Kind::kReduceScatter;
  if (reduces) text += fmt::format(" ({})", Name(call.reduce));
  if (reduces || call.kind == Kind::kAllGather || call.kind == Kind::kBroadcast) {
    text += fmt::format(" of {} {}", call.count, Name(call.type));
  } else if (call.kind == Kind::kAllToAll) {
    text += fmt::format(" of {}", Name(call.type));
  }
  if (call.kind == Kind::kBroadcast) text += fmt::format(" from rank {}", call.root);
  text += fmt::format(", operation {}", call.number);
  if (!call.what.empty()) text += fmt::format(", {}", call.what);
  return text;
}

absl::Status Compare(int mine_rank, const Header& mine, int other_rank, const Header& other) {
  const Call &a = mine.call, &b = other.call;
  if (!b.refusal.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("{}: rank {} cannot take part: {}", Describe(a), other_rank, b.refusal));
  }
  const auto differ = [&](const std::string& how) {
    return absl::FailedPreconditionError(
        fmt::format("ranks disagree{}: rank {} calls {}; rank {} calls {}. Every rank must call the same operations "
                    "in the same order with the same sizes",
                    how, mine_rank, Describe(a), other_rank, Describe(b)));
  };
  if (a.number != b.number || a.kind != b.kind || a.type != b.type || a.reduce != b.reduce || a.root != b.root ||
      a.count != b.count) {
    return differ("");
  }
  if (a.counts_digest != b.counts_digest) return differ(" on how many elements each rank has");
  if (a.kind == Kind::kStrings) return absl::OkStatus();
  if (mine.sends != other.expects) {
    return differ(fmt::format(" (rank {} sends {} bytes to rank {}, which expects {})", mine_rank, mine.sends,
                              other_rank, other.expects));
  }
  if (mine.expects != other.sends) {
    return differ(fmt::format(" (rank {} sends {} bytes to rank {}, which expects {})", other_rank, other.sends,
                              mine_rank, mine.expects));
  }
  return absl::OkStatus();
}

}  // namespace filigree::comm
