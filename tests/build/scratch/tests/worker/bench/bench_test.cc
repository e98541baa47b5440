#include "worker/bench/bench.h"

#include "tests/support/seven.h"
int BenchPlusSeven() { return Bench() + Seven(); }
