/* Lets the wall clock of one host's processes jump, for tests of what such a jump does.
 *
 * Loaded before the C library (LD_PRELOAD) in every process of a host whose clock may jump. The
 * file named by SHOAL_LAB_CLOCK holds how far its wall clock is off, in nanoseconds (8 bytes, the
 * machine's byte order), and is looked at on every call: a jump is seen at once. The monotonic
 * clock is left alone, as a real jump of the wall clock leaves it. What waits until a wall time
 * is given the machine's own time for it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000LL
/* Times of waits say not which clock they are of. The wall clock counts from 1970, the monotonic
 * one from when the machine started: nothing before 2001 is a wall time. */
#define LEAST_WALL_S 1000000000LL

static const volatile int64_t *off_ns;

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("SHOAL_LAB_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) off_ns = page;
  close(file);
}

static struct timespec shifted(struct timespec at, int sign) {
  int64_t total = (int64_t)at.tv_sec * NS + at.tv_nsec + (off_ns ? sign * *off_ns : 0);
  if (total < 0) total = 0;
  return (struct timespec){.tv_sec = total / NS, .tv_nsec = total % NS};
}

static int is_wall(clockid_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

/* The machine's time for a deadline that was made from a shifted clock. */
static struct timespec real(const struct timespec *at) {
  return at->tv_sec >= LEAST_WALL_S ? shifted(*at, -1) : *at;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *at) {
  static __typeof__(&clock_gettime) next;
  if (!next) next = NEXT(clock_gettime);
  int failed = next(clock, at);
  if (!failed && is_wall(clock)) *at = shifted(*at, 1);
  return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
  return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, at) ? base : 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *at, struct timespec *left) {
  struct timespec until = is_wall(clock) && flags & TIMER_ABSTIME ? shifted(*at, -1) : *at;
  return NEXT(clock_nanosleep)(clock, flags, &until, left);
}

int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict at) {
  struct timespec until = real(at);
  return NEXT(sem_timedwait)(sem, &until);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict at) {
  struct timespec until = real(at);
  return NEXT(pthread_mutex_timedlock)(mutex, &until);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict at) {
  static __typeof__(&pthread_cond_timedwait) next;
  /* By version: without one, some C libraries hand out the condition variables of 2002. */
  if (!next) next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  if (!next) next = NEXT(pthread_cond_timedwait);
  struct timespec until = real(at);
  return next(condition, mutex, &until);
}
