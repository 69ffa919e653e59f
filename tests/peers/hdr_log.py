"""Reads an HDR interval log with PyPI `hdrhistogram`, as a stock HDR tool does, and prints what is in it as JSON.

usage: python hdr_log.py FILE
"""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

HOUR = 3_600_000_000_000

found = {}
reader = HistogramLogReader(sys.argv[1], HdrHistogram(1000, HOUR, 3))
intervals = 0
while (histogram := reader.get_next_interval_histogram()) is not None:
    intervals += 1
    total = found.setdefault(histogram.get_tag(), HdrHistogram(1000, HOUR, 3))
    total.add(histogram)
print(
    json.dumps(
        {
            "intervals": intervals,
            "start": reader.get_start_time_sec(),
            "tags": {
                tag: {
                    "count": total.get_total_count(),
                    "p50": total.get_value_at_percentile(50) / 1e6,
                    "p90": total.get_value_at_percentile(90) / 1e6,
                    "max": total.get_max_value() / 1e6,
                }
                for tag, total in found.items()
            },
        }
    )
)
