// Prints its arguments, one variable of its environment and its privilege level.
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
  unsigned long cs;
  __asm__ volatile("mov %%cs, %0" : "=r"(cs));
  printf("hello %s %s, ring %lu\n", count > 1 ? arguments[1] : "?", getenv("PLACE"), cs & 3);
  return 7;
}
