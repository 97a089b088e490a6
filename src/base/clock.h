/* clock.h - time that never goes backwards, in seconds since an arbitrary start. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

double clock_s(void);

#endif
