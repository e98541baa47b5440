#include "worker/interop/pickle_machine.h"

#include <fmt/format.h>

namespace filigree::interop {
namespace {

// Opcodes of pickle protocols 0 to 4 that plain data needs.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kNone = 'N',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kBinFloat = 'G',
  kBinUnicode = 'X',
  kEmptyTuple = ')',
  kTuple = 't',
  kEmptyList = ']',
  kEmptyDict = '}',
  kAppend = 'a',
  kAppends = 'e',
  kSetItem = 's',
  kSetItems = 'u',
  kBuild = 'b',
  kGlobal = 'c',
  kReduce = 'R',
  kBinPersId = 'Q',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kShortBinUnicode = 0x8c,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

}  // namespace

PickleValue* PickleMachine::New(PickleKind kind) {
  values_.emplace_back().kind = kind;
  return &values_.back();
}

PickleValue* PickleMachine::Fail(const std::string& what) {
  if (error_.empty()) error_ = fmt::format("{} at byte {} of its pickle", what, at_);
  return nullptr;
}

PickleValue* PickleMachine::Pop() {
  const size_t floor = marks_.empty() ? 0 : marks_.back();
  if (stack_.size() <= floor) {
    Fail("a value is missing");
    return New(PickleKind::kNone);
  }
  PickleValue* top = stack_.back();
  stack_.pop_back();
  return top;
}

std::vector<PickleValue*> PickleMachine::PopToMark() {
  if (marks_.empty()) {
    Fail("a mark is missing");
    return {};
  }
  std::vector<PickleValue*> items(stack_.begin() + static_cast<int64_t>(marks_.back()), stack_.end());
  stack_.resize(marks_.back());
  marks_.pop_back();
  return items;
}

uint64_t PickleMachine::ReadNumber(int count) {
  if (bytes_.size() - at_ < static_cast<size_t>(count)) {
    Fail("it ends inside a number");
    at_ = bytes_.size();
    return 0;
  }
  uint64_t number = 0;
  for (int i = 0; i < count; ++i) number |= static_cast<uint64_t>(bytes_[at_++]) << (8 * i);
  return number;
}

std::string PickleMachine::ReadText(uint64_t length) {
  if (bytes_.size() - at_ < length) {
    Fail("it ends inside a text");
    return "";
  }
  std::string text(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
  at_ += length;
  return text;
}

std::string PickleMachine::ReadLine() {
  std::string line;
  while (at_ < bytes_.size() && bytes_[at_] != '\n') line += static_cast<char>(bytes_[at_++]);
  if (at_ == bytes_.size()) Fail("it ends inside a line");
  ++at_;
  return line;
}

void PickleMachine::PushTuple(std::vector<PickleValue*> items) {
  PickleValue* tuple = New(PickleKind::kTuple);
  tuple->items = std::move(items);
  Push(tuple);
}

void PickleMachine::SetItems(const std::vector<PickleValue*>& keys_and_values) {
  PickleValue* dict = Pop();
  Push(dict);
  if (dict->kind != PickleKind::kDict || keys_and_values.size() % 2 != 0) {
    Fail("items are set on something that is not a dict");
    return;
  }
  for (size_t i = 0; i < keys_and_values.size(); i += 2) {
    dict->entries.emplace_back(keys_and_values[i], keys_and_values[i + 1]);
  }
}

void PickleMachine::AppendItems(const std::vector<PickleValue*>& items) {
  PickleValue* list = Pop();
  Push(list);
  if (list->kind != PickleKind::kList) {
    Fail("items are appended to something that is not a list");
    return;
  }
  list->items.insert(list->items.end(), items.begin(), items.end());
}

// A call is never made: OrderedDict() becomes a dict, every other one a value that says what was to be called with
// what.
void PickleMachine::Reduce() {
  PickleValue* arguments = Pop();
  PickleValue* callee = Pop();
  if (callee->kind != PickleKind::kGlobal || arguments->kind != PickleKind::kTuple) {
    Fail("something that is no known name is called");
    return;
  }
  if (callee->text == "collections OrderedDict") {
    if (!arguments->items.empty()) Fail("an OrderedDict is made from arguments");
    return Push(New(PickleKind::kDict));
  }
  PickleValue* call = New(PickleKind::kCall);
  call->items = {callee, arguments};
  Push(call);
}

// The state of an object: an OrderedDict has attributes (_metadata of a module), which are left out.
void PickleMachine::Build() {
  Pop();
  PickleValue* object = Pop();
  Push(object);
  if (object->kind != PickleKind::kDict) Fail("state is given to something that is not an OrderedDict");
}

bool PickleMachine::ExecuteConstant(uint8_t opcode, bool& handled) {
  PickleValue* value = nullptr;
  const auto integer = [&](int64_t x) {
    value = New(PickleKind::kInt);
    value->number = x;
  };
  const auto boolean = [&](bool x) {
    value = New(PickleKind::kBool);
    value->number = x;
  };
  const auto text = [&](uint64_t length) {
    value = New(PickleKind::kText);
    value->text = ReadText(length);
  };
  handled = true;
  switch (opcode) {
    case kNone:
      value = New(PickleKind::kNone);
      break;
    case kNewTrue:
    case kNewFalse:
      boolean(opcode == kNewTrue);
      break;
    case kBinInt:
      integer(static_cast<int32_t>(ReadNumber(4)));
      break;
    case kBinInt1:
      integer(static_cast<int64_t>(ReadNumber(1)));
      break;
    case kBinInt2:
      integer(static_cast<int64_t>(ReadNumber(2)));
      break;
    case kLong1: {
      const int length = static_cast<int>(ReadNumber(1));
      if (length > 8) return Fail("a number has more than 64 bits"), false;
      const uint64_t bits = ReadNumber(length);
      const int shift = 64 - 8 * length;  // the sign of the last byte fills up
      integer(length == 0 ? 0 : static_cast<int64_t>(bits << shift) >> shift);
      break;
    }
    case kBinFloat:
      ReadNumber(8);
      value = New(PickleKind::kReal);  // no float means anything in a state dict
      break;
    case kBinUnicode:
      text(ReadNumber(4));
      break;
    case kShortBinUnicode:
      text(ReadNumber(1));
      break;
    default:
      handled = false;
      return true;
  }
  Push(value);
  return error_.empty();
}

bool PickleMachine::ExecuteContainer(uint8_t opcode, bool& handled) {
  handled = true;
  switch (opcode) {
    case kMark:
      marks_.push_back(stack_.size());
      break;
    case kEmptyTuple:
      PushTuple({});
      break;
    case kTuple:
      PushTuple(PopToMark());
      break;
    case kTuple1:
    case kTuple2:
    case kTuple3: {
      std::vector<PickleValue*> items(opcode - kTuple1 + 1);
      for (size_t i = items.size(); i-- > 0;) items[i] = Pop();
      PushTuple(std::move(items));
      break;
    }
    case kEmptyList:
      Push(New(PickleKind::kList));
      break;
    case kEmptyDict:
      Push(New(PickleKind::kDict));
      break;
    case kAppend:
      AppendItems({Pop()});
      break;
    case kAppends:
      AppendItems(PopToMark());
      break;
    case kSetItem: {
      PickleValue* value = Pop();
      SetItems({Pop(), value});
      break;
    }
    case kSetItems:
      SetItems(PopToMark());
      break;
    default:
      handled = false;
  }
  return error_.empty();
}

bool PickleMachine::ExecuteMemo(uint8_t opcode, bool& handled) {
  handled = true;
  const auto put = [&](uint64_t key) {
    PickleValue* top = Pop();
    Push(top);
    memo_[key] = top;
  };
  const auto get = [&](uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) {
      Fail("a remembered value is missing");
    } else {
      Push(found->second);
    }
  };
  switch (opcode) {
    case kBinPut:
      put(ReadNumber(1));
      break;
    case kLongBinPut:
      put(ReadNumber(4));
      break;
    case kMemoize:
      put(memo_.size());
      break;
    case kBinGet:
      get(ReadNumber(1));
      break;
    case kLongBinGet:
      get(ReadNumber(4));
      break;
    default:
      handled = false;
  }
  return error_.empty();
}

bool PickleMachine::Execute(uint8_t opcode) {
  bool handled = false;
  for (const auto execute :
       {&PickleMachine::ExecuteConstant, &PickleMachine::ExecuteContainer, &PickleMachine::ExecuteMemo}) {
    if (!(this->*execute)(opcode, handled)) return false;
    if (handled) return true;
  }
  switch (opcode) {
    case kProto:
      if (ReadNumber(1) > 4) Fail("a pickle protocol above 4");
      break;
    case kFrame:
      ReadNumber(8);
      break;
    case kGlobal: {
      PickleValue* global = New(PickleKind::kGlobal);
      global->text = ReadLine() + " ";
      global->text += ReadLine();
      Push(global);
      break;
    }
    case kStackGlobal: {
      const PickleValue *name = Pop(), *module = Pop();
      PickleValue* global = New(PickleKind::kGlobal);
      global->text = module->text + " " + name->text;
      Push(global);
      break;
    }
    case kBinPersId: {
      PickleValue* id = Pop();
      PickleValue* persistent = New(PickleKind::kPersistent);
      persistent->items = {id};
      Push(persistent);
      break;
    }
    case kReduce:
      Reduce();
      break;
    case kBuild:
      Build();
      break;
    default:
      Fail(fmt::format("opcode 0x{:02x}, which no state dict needs,", opcode));
  }
  return error_.empty();
}

PickleValue* PickleMachine::Run() {
  while (at_ < bytes_.size()) {
    const uint8_t opcode = bytes_[at_++];
    if (opcode == kStop) {
      if (at_ != bytes_.size()) return Fail("bytes behind its end");
      if (stack_.size() != 1 || !marks_.empty()) return Fail("more or less than one value");
      return stack_.back();
    }
    if (!Execute(opcode)) return nullptr;
  }
  return Fail("no end");
}

}  // namespace filigree::interop
