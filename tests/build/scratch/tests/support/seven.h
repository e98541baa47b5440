#pragma once
inline int Seven() { return 7; }
