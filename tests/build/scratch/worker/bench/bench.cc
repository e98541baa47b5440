#include "worker/bench/bench.h"

#include "worker/bench/detail.h"
#include "worker/color/color.h"
int Bench() { return Red(); }
