#include "kernels/base/check.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch.h"
#include "worker/data/token_stream.h"

namespace filigree::fuzz {
namespace {

std::string Shard(int32_t count) {
  std::string file(static_cast<size_t>(data::kShardHeaderBytes) + 2 * static_cast<size_t>(count), '\1');
  const int32_t words[] = {data::kShardMagic, data::kShardVersion, count};
  for (size_t w = 0; w < 3; ++w)
    for (size_t i = 0; i < 4; ++i) file[4 * w + i] = static_cast<char>(words[w] >> 8 * i);
  return file;
}

}  // namespace

std::vector<std::string> Seeds() { return {Shard(0), Shard(1), Shard(1000)}; }

void Try(std::string_view input) {
  static const Scratch scratch;
  scratch.Write("shard.bin", input);
  const auto stream = data::TokenStream::Open({scratch / "shard.bin"});
  if (!stream.ok()) return;
  CHECK(stream->size() * 2 + data::kShardHeaderBytes == static_cast<int64_t>(input.size()), "{} tokens of {} bytes",
        stream->size(), input.size());
  std::vector<int32_t> tokens(static_cast<size_t>(stream->size()));
  stream->Copy(0, static_cast<int>(stream->size()), tokens.data());
  for (int shard = 0; shard < stream->shards(); ++shard) stream->CheckVocab(shard, 300).IgnoreError();
}

}  // namespace filigree::fuzz
