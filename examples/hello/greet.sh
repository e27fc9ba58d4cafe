#!/bin/sh
# greet.sh GREETING FILE: one line for each name in FILE.
while read -r name; do
	echo "$1, $name"
done < "$2"
