#pragma once
int Threads();
