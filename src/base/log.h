/* log.h - what the library tells besides its results, through one callback that the program sets.
 *
 * A logger is passed to whoever may speak; there is no global one. A NULL logger is silent.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_ERROR = 0, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct logger {
	/* One line without its newline. Called from the thread that speaks. */
	void (*line)(void *user, enum log_level level, const char *text);
	void *user;
	enum log_level level; /* lines above it are dropped before they are formatted */
};

void log_line(const struct logger *l, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
