#include "worker/bench/bench.h"
