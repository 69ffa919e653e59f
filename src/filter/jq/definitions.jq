# Definitions beside jaq's own: functions of jq that jaq lacks, or that do something else there.

# Each message is the one input of its run.
def input: error("No more inputs");
def inputs: empty;
def input_filename: null;
def input_line_number: 0;
def halt_error: error;
def halt_error($exit_code): error;

def have_literal_numbers: true;
def have_decnum: true;
def get_search_list: [];

# Arrays and streams
def take_first($n; f): limit($n; f);
def leave_out($n; f): skip($n; f);
def limit($n; f): if $n < 0 then error("limit doesn't support negative count") else take_first($n; f) end;
def skip($n; f): if $n < 0 then error("skip doesn't support negative count") else leave_out($n; f) end;
def nth($n; f): if $n < 0 then error("nth doesn't support negative indices") else first(leave_out($n; f)) end;
def toarray: if isarray then . else [.] end;
def flatten($depth):
  def flat($depth): .[] | if isarray and $depth > 0 then flat($depth - 1) else . end;
  if $depth < 0 then error("flatten depth must not be negative") else [flat($depth)] end;
def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] |= $row);
def INDEX(f): INDEX(.[]; f);
def JOIN($index; key): [.[] | [., $index[key]]];
def JOIN($index; rows; key): rows | [., $index[key]];
def JOIN($index; rows; key; joined): rows | [., $index[key]] | joined;
def ascii: [.] | implode;
def trimstr($part): ltrimstr($part) | rtrimstr($part);

# Paths
def del(f): delpaths([path(f)]);
def pick(f): . as $whole | reduce path(f) as $path (null; setpath($path; $whole | getpath($path)));
def leaf_paths: paths(scalars);
def recurse_down: recurse;
def entry_value: if has("value") then .value elif has("v") then .v else .Value end;
def from_entries:
  reduce .[] as $entry ({};
    .[$entry | [.key, .k, .name, .Name, .K, .Key] | map(values) | .[0] | if isstring then . else tojson end]
      = ($entry | entry_value));
def with_entries(f): to_entries | map(f) | from_entries;

# Streams of paths and leaves
def tostream:
  def events($path):
    if (isarray or isobject) and length > 0
    then keys_unsorted as $keys | ($keys[] as $key | .[$key] | events($path + [$key])), [$path + [$keys[-1]]]
    else [$path, .]
    end;
  events([]);
def fromstream(f):
  foreach f as $event ({};
    if .whole then {} end
    | if ($event | length) == 2
      then setpath(["value"] + $event[0]; $event[1]) | .whole = ($event[0] == [])
      else .whole = (($event[0] | length) == 1)
      end;
    if .whole then .value else empty end);
def truncate_stream(f): . as $depth | f | select((.[0] | length) > $depth) | .[0] |= .[$depth:];

# Dates
def moment($who):
  if isnumber then .
  elif isarray and length > 0 and all(.[]; isnumber) then . + [1970, 0, 1, 0, 0, 0, 0, 0][length:]
  else error($who + " requires parsed datetime inputs")
  end;
def mktime: if isarray then moment("mktime") | mktime_of else error("mktime requires array inputs") end;
def formatted($who; $format): if $format | isstring then moment($who) else error($who + " requires a string format") end;
def strftime($format): formatted("strftime/1"; $format) | strftime_of($format);
def strflocaltime($format): formatted("strflocaltime/1"; $format) | strflocaltime_of($format);
def date: todate;
def dateadd(unit; $n): . + $n;
def datesub(unit; $n): . - $n;

# Regular expressions, also given as [EXPRESSION, FLAGS]
def pair_of($expression): if $expression | isarray then [$expression[0], $expression[1] // ""] else [$expression, ""] end;
def test($expression): pair_of($expression) as [$re, $flags] | test($re; $flags);
def match($expression; $flags):
  matches($expression; $flags // "")[]
  | .[0] + {captures: [.[1:][] | {offset, length, string, name: (.name // null)}]};
def match($expression): pair_of($expression) as [$re, $flags] | match($re; $flags);
def capture($expression): pair_of($expression) as [$re, $flags] | capture($re; $flags);
def scan($expression): pair_of($expression) as [$re, $flags] | scan($re; $flags);

# Formats
def @base32: tostring | encode_base32;
def @base32d: tostring | decode_base32;
