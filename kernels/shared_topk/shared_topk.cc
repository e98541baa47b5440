#include "kernels/shared_topk/shared_topk.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "kernels/base/buffer.h"
#include "kernels/base/check.h"
#include "kernels/base/trace.h"
#include "kernels/candidate_topk/poor_units.h"
#include "kernels/weight_topk/scan.h"
#include "kernels/weight_topk/select.h"

// A radix search in two digits over all matrices at once, as kernels/weight_topk does it in one: upper 16 bits of all
// magnitudes, then the lower 15 of those in the right bin. What step 1 keeps is taken out of both histograms.

namespace filigree::kernels {
namespace {

constexpr int64_t kEntriesPerTask = kWordsPerTask * 64;
constexpr float kFloorOfGuess = 0.75f;  // entries below this part of the guess are not counted at first

// A run of entries of one matrix, or of its units: what a thread takes.
struct Piece {
  size_t matrix;
  int64_t begin, end;
};

using Matrices = std::span<const SharingMatrix>;

std::vector<Piece> EntryPieces(Matrices matrices) {
  std::vector<Piece> pieces;
  for (size_t m = 0; m < matrices.size(); ++m) {
    const int64_t n = matrices[m].entries();
    for (int64_t i = 0; i < n; i += kEntriesPerTask) pieces.push_back({m, i, std::min(n, i + kEntriesPerTask)});
  }
  return pieces;
}

// What step 1 keeps of one matrix.
struct Alive {
  int64_t a_unit = 0;  // entries of each unit, where the matrix is whole
  std::vector<Entry> best;
};

// Units of a whole matrix that are looked at together; a matrix on candidates is one piece.
int64_t UnitsPerTask(const SharingMatrix& matrix) {
  if (matrix.unit == Unit::kColumn) return ColumnsPerTask(matrix.rows);
  return std::max<int64_t>(1, kEntriesPerTask / matrix.cols);
}

std::vector<Piece> UnitPieces(Matrices matrices, std::vector<Alive>& alive) {
  std::vector<Piece> pieces;
  for (size_t m = 0; m < matrices.size(); ++m) {
    const SharingMatrix& matrix = matrices[m];
    if (matrix.unit == Unit::kNone || matrix.min_alive <= 0 || matrix.entries() == 0) continue;
    const bool rows = matrix.unit == Unit::kRow;
    const int64_t units = rows ? matrix.rows : matrix.cols, length = rows ? matrix.cols : matrix.rows;
    if (matrix.pattern != nullptr) {
      pieces.push_back({m, 0, units});
      continue;
    }
    alive[m].a_unit = std::min<int64_t>(matrix.min_alive, length);
    alive[m].best.resize(units * alive[m].a_unit);
    const int64_t step = UnitsPerTask(matrix);
    for (int64_t u = 0; u < units; u += step) pieces.push_back({m, u, std::min(units, u + step)});
  }
  return pieces;
}

void FindAliveWhole(const SharingMatrix& matrix, const Piece& piece, Alive& alive) {
  const int64_t n = alive.a_unit;
  if (matrix.unit == Unit::kColumn) {
    TopOfColumns(matrix.w, matrix.rows, matrix.cols, piece.begin, piece.end - piece.begin, n,
                 alive.best.data() + piece.begin * n);
    return;
  }
  for (int64_t r = piece.begin; r < piece.end; ++r) {
    TopOfRow(matrix.w + r * matrix.cols, r * matrix.cols, matrix.cols, n, alive.best.data() + r * n);
  }
}

void FindAliveOnCandidates(const SharingMatrix& matrix, Alive& alive) {
  Buffer<uint64_t> kept(static_cast<size_t>(matrix.pattern->words()));
  const int64_t count = FillPoorUnits(*matrix.pattern, matrix.w, {0, matrix.min_alive, matrix.unit}, kept.data());
  alive.best.reserve(count);
  for (size_t word = 0; word < kept.size(); ++word) {
    for (uint64_t bits = kept[word]; bits != 0; bits &= bits - 1) {
      const auto e = static_cast<int64_t>(word * 64 + std::countr_zero(bits));
      alive.best.push_back(MakeEntry(MagnitudeBits(matrix.w[e]), e));
    }
  }
}

std::vector<Alive> FindAlive(Matrices matrices, ThreadPool& pool) {
  std::vector<Alive> alive(matrices.size());
  const std::vector<Piece> pieces = UnitPieces(matrices, alive);
  pool.Run(std::ssize(pieces), [&](int64_t i, int) {
    const SharingMatrix& matrix = matrices[pieces[i].matrix];
    Alive& found = alive[pieces[i].matrix];
    matrix.pattern == nullptr ? FindAliveWhole(matrix, pieces[i], found) : FindAliveOnCandidates(matrix, found);
  });
  return alive;
}

// The histogram of all pieces: count(piece, bins of this worker). A worker's bins have 32 bits, so that they are added
// up before they could have counted more.
template <typename Count>
std::vector<int64_t> CountAll(const std::vector<Piece>& pieces, int bins, ThreadPool& pool, Count count) {
  constexpr int64_t kMost = UINT32_MAX;
  std::vector<int64_t> sum(bins);
  std::vector<uint32_t> counts(static_cast<size_t>(pool.threads()) * bins);
  for (int64_t first = 0; first < std::ssize(pieces);) {
    int64_t last = first, entries = 0;
    for (; last < std::ssize(pieces) && entries <= kMost - kEntriesPerTask; ++last) {
      entries += pieces[last].end - pieces[last].begin;
    }
    pool.Run(last - first, [&](int64_t i, int worker) {
      count(pieces[first + i], counts.data() + static_cast<size_t>(worker) * bins);
    });
    for (size_t i = 0; i < counts.size(); ++i) sum[i % bins] += counts[i];
    std::fill(counts.begin(), counts.end(), 0);
    first = last;
  }
  return sum;
}

// A bin of a histogram, and how many of the entries inside are still to be kept.
struct Place {
  int32_t bin = 0;
  int64_t wanted = 0;
};

Place Find(const std::vector<int64_t>& counts, int64_t wanted) {
  int32_t bin = static_cast<int32_t>(counts.size()) - 1;
  for (; bin > 0 && counts[bin] < wanted; --bin) wanted -= counts[bin];
  return {bin, wanted};
}

// The threshold of step 2, and how many entries equal to it step 2 keeps.
class Search {
 public:
  Search(Matrices matrices, const std::vector<Alive>& alive, ThreadPool& pool)
      : matrices_(matrices), alive_(alive), pool_(pool), pieces_(EntryPieces(matrices)) {}

  Place Threshold(int64_t by_rank, float guess) const {
    const bool usable = guess > 0 && guess < std::bit_cast<float>(0x7f800000);
    std::vector<int64_t> upper = Upper(usable ? MagnitudeBits(kFloorOfGuess * guess) : -1);
    if (usable && std::accumulate(upper.begin(), upper.end(), int64_t{0}) < by_rank) upper = Upper(-1);
    const Place high = Find(upper, by_rank);
    const Place low = Find(Lower(high.bin), high.wanted);
    return {high.bin << kLowerBits | low.bin, low.wanted};
  }

  // Of every matrix the entries that have these magnitudes and are not of step 1.
  struct Beyond {
    int64_t above = 0, equal = 0;
  };
  std::vector<Beyond> Count(int32_t threshold) const {
    std::vector<Beyond> of_pieces(pieces_.size()), beyond(matrices_.size());
    pool_.Run(std::ssize(pieces_), [&](int64_t i, int) {
      const float* w = matrices_[pieces_[i].matrix].w;
      int32_t above = 0, equal = 0;  // as wide as what is compared: the loop runs in vectors
      for (int64_t e = pieces_[i].begin; e < pieces_[i].end; ++e) {
        above += MagnitudeBits(w[e]) > threshold ? 1 : 0;
        equal += MagnitudeBits(w[e]) == threshold ? 1 : 0;
      }
      of_pieces[i] = {above, equal};
    });
    for (size_t i = 0; i < pieces_.size(); ++i) {
      beyond[pieces_[i].matrix].above += of_pieces[i].above;
      beyond[pieces_[i].matrix].equal += of_pieces[i].equal;
    }
    for (size_t m = 0; m < matrices_.size(); ++m) {
      for (const Entry e : alive_[m].best) {
        beyond[m].above -= BitsOf(e) > threshold ? 1 : 0;
        beyond[m].equal -= BitsOf(e) == threshold ? 1 : 0;
      }
    }
    return beyond;
  }

 private:
  std::vector<int64_t> Upper(int32_t floor) const {
    std::vector<int64_t> counts = CountAll(pieces_, kUpperBins, pool_, [&](const Piece& piece, uint32_t* bins) {
      CountUpper(matrices_[piece.matrix].w + piece.begin, piece.end - piece.begin, floor, bins);
    });
    for (const Alive& alive : alive_) {
      for (const Entry e : alive.best) counts[BitsOf(e) >> kLowerBits] -= BitsOf(e) > floor ? 1 : 0;
    }
    return counts;
  }

  std::vector<int64_t> Lower(int32_t upper) const {
    std::vector<int64_t> counts = CountAll(pieces_, kLowerBins, pool_, [&](const Piece& piece, uint32_t* bins) {
      CountLower(matrices_[piece.matrix].w + piece.begin, piece.end - piece.begin, upper, bins);
    });
    for (const Alive& alive : alive_) {
      for (const Entry e : alive.best) {
        if (BitsOf(e) >> kLowerBits == upper) --counts[BitsOf(e) & (kLowerBins - 1)];
      }
    }
    return counts;
  }

  const Matrices matrices_;
  const std::vector<Alive>& alive_;
  ThreadPool& pool_;
  const std::vector<Piece> pieces_;
};

// Whether step 2 has something to choose, and what of it.
int64_t CheckedRest(Matrices matrices, const std::vector<Alive>& alive, int64_t k) {
  int64_t entries = 0, rest = k;
  for (const SharingMatrix& matrix : matrices) {
    CHECK(matrix.entries() < 0xffffffff, "{} x {} entries", matrix.rows, matrix.cols);
    entries += matrix.entries();
  }
  for (const Alive& of : alive) rest -= std::ssize(of.best);
  CHECK(k <= entries, "k = {} of {} entries", k, entries);
  CHECK(rest >= 0, "min_alive asks for {} entries more than k = {}", -rest, k);
  return rest;
}

}  // namespace

std::vector<int64_t> ShareEntries(Matrices matrices, int64_t k, float* threshold, ThreadPool& pool) {
  const TraceSpan span("shared_topk", [&] {
    double entries = 0;
    for (const SharingMatrix& matrix : matrices) entries += static_cast<double>(matrix.entries());
    return TraceWork{.bytes = 16 * entries, .level = TraceLevel::kMemory, .threads = pool.threads()};
  });
  const std::vector<Alive> alive = FindAlive(matrices, pool);
  const int64_t by_rank = CheckedRest(matrices, alive, k);
  std::vector<int64_t> shares;
  shares.reserve(matrices.size());
  for (const Alive& of : alive) shares.push_back(std::ssize(of.best));
  const float guess = threshold == nullptr ? 0 : *threshold;
  if (threshold != nullptr) *threshold = 0;
  if (by_rank == 0) return shares;
  const Search search(matrices, alive, pool);
  const Place found = search.Threshold(by_rank, guess);
  int64_t ties = found.wanted;
  const std::vector<Search::Beyond> beyond = search.Count(found.bin);
  for (size_t m = 0; m < matrices.size(); ++m) {
    const int64_t tied = std::min(ties, beyond[m].equal);
    shares[m] += beyond[m].above + tied;
    ties -= tied;
  }
  if (threshold != nullptr) *threshold = std::bit_cast<float>(found.bin);
  return shares;
}

}  // namespace filigree::kernels
