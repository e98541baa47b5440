#ifndef FILIGREE_WORKER_INTEROP_PICKLE_MACHINE_H_
#define FILIGREE_WORKER_INTEROP_PICKLE_MACHINE_H_

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

// The stack machine of pickle_reader.h: bytes in, a graph of plain values out.

namespace filigree::interop {

enum class PickleKind { kNone, kBool, kInt, kReal, kText, kTuple, kList, kDict, kGlobal, kPersistent, kCall };

struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  int64_t number = 0;               // kBool, kInt
  std::string text;                 // kText; kGlobal: "module name"
  std::vector<PickleValue*> items;  // kTuple, kList; kPersistent: {id}; kCall: {global, arguments}
  std::vector<std::pair<PickleValue*, PickleValue*>> entries;  // kDict, in order of insertion
};

class PickleMachine {
 public:
  explicit PickleMachine(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  // The value that STOP leaves, or null: error() says why. Values live as long as the machine; they own nothing, so
  // that cycles and depth do no harm.
  PickleValue* Run();
  const std::string& error() const { return error_; }

 private:
  PickleValue* New(PickleKind kind);
  PickleValue* Fail(const std::string& what);
  void Push(PickleValue* value) { stack_.push_back(value); }
  PickleValue* Pop();
  // The values above the last mark, which goes too.
  std::vector<PickleValue*> PopToMark();

  bool Execute(uint8_t opcode);  // false: an error was noted
  bool ExecuteConstant(uint8_t opcode, bool& handled);
  bool ExecuteContainer(uint8_t opcode, bool& handled);
  bool ExecuteMemo(uint8_t opcode, bool& handled);
  void PushTuple(std::vector<PickleValue*> items);
  void SetItems(const std::vector<PickleValue*>& keys_and_values);
  void AppendItems(const std::vector<PickleValue*>& items);
  void Reduce();
  void Build();

  uint64_t ReadNumber(int bytes);  // little-endian
  std::string ReadText(uint64_t length);
  std::string ReadLine();

  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  std::string error_;
  std::deque<PickleValue> values_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleValue*> memo_;
};

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_PICKLE_MACHINE_H_
