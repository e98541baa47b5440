#include "worker/bench/bench.h"
int main() { return Bench() == 1 ? 0 : 1; }
