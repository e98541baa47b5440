#include "worker/interop/pickle_writer.h"

#include <cstdint>

namespace filigree::interop {
namespace {

class Pickle {
 public:
  void Op(char opcode) { bytes_ += opcode; }

  void Text(const std::string& text) {
    Op('X');  // BINUNICODE
    Number(text.size(), 4);
    bytes_ += text;
  }

  void Int(int64_t x) {
    if (x < 256) {
      Op('K');  // BININT1
      Number(x, 1);
    } else if (x <= INT32_MAX) {
      Op('J');  // BININT
      Number(x, 4);
    } else {
      Op('\x8a');  // LONG1: 8 bytes, the sign bit is clear
      Number(8, 1);
      Number(x, 8);
    }
  }

  void Ints(const std::vector<int64_t>& xs) {
    Op('(');
    for (const int64_t x : xs) Int(x);
    Op('t');
  }

  void Global(const char* module, const char* name) { bytes_ += std::string("c") + module + "\n" + name + "\n"; }

  void EmptyOrderedDict() {
    Global("collections", "OrderedDict");
    bytes_ += ")R";
  }

  const std::string& bytes() const { return bytes_; }

 private:
  void Number(uint64_t x, int n) {
    for (int i = 0; i < n; ++i) bytes_ += static_cast<char>(x >> (8 * i));
  }
  std::string bytes_;
};

std::vector<int64_t> RowMajorStrides(const checkpoint::Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

void AddTensor(Pickle& pickle, const checkpoint::NamedShape& tensor, size_t storage) {
  pickle.Text(tensor.name);
  pickle.Global("torch._utils", "_rebuild_tensor_v2");
  pickle.Op('(');
  pickle.Op('(');  // persistent id of the storage
  pickle.Text("storage");
  pickle.Global("torch", "FloatStorage");
  pickle.Text(std::to_string(storage));
  pickle.Text("cpu");
  pickle.Int(checkpoint::Elements(tensor.shape));
  pickle.Op('t');
  pickle.Op('Q');
  pickle.Int(0);  // offset
  pickle.Ints(tensor.shape);
  pickle.Ints(RowMajorStrides(tensor.shape));
  pickle.Op('\x89');          // requires_grad: False
  pickle.EmptyOrderedDict();  // backward hooks
  pickle.Op('t');
  pickle.Op('R');
}

}  // namespace

std::string PickleStateDict(const std::vector<checkpoint::NamedShape>& tensors) {
  Pickle pickle;
  pickle.Op('\x80');  // PROTO
  pickle.Op('\x02');
  pickle.EmptyOrderedDict();
  pickle.Op('(');
  for (size_t i = 0; i < tensors.size(); ++i) AddTensor(pickle, tensors[i], i);
  pickle.Op('u');
  pickle.Op('.');
  return pickle.bytes();
}

}  // namespace filigree::interop
