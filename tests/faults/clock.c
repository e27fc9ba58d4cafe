/* A wrong clock for one process: what tells the time of day is OFFSET seconds ahead. Nothing that waits is touched,
   unlike by libfaketime (0.9.10), whose clock_nanosleep at times fails with EINVAL. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *found)
{
	static int (*real)(clockid_t, struct timespec *);
	const char *offset = getenv("OFFSET");

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int result = real(clock, found);
	if (!result && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		found->tv_sec += atol(offset);
	return result;
}

time_t time(time_t *found)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (found)
		*found = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	found->tv_sec = now.tv_sec;
	found->tv_usec = now.tv_nsec / 1000;
	return 0;
}
