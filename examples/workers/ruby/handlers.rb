# frozen_string_literal: true

# What this worker can do: put your own job types into the table at the end.

require "json"

# The args are not what the job type needs: trying again does not help.
class InvalidArgs < StandardError; end

# JSON that is passed on as it is.
Verbatim = Struct.new(:json) do
  def to_json(*) = json
end

# What a job function gets. It is stopped by an exception, so `ensure` is the place to tidy up.
Job = Struct.new(:type, :body) do
  def args
    parsed = JSON.parse(body, max_nesting: false)
    raise InvalidArgs, "the args must be an object" unless parsed.is_a?(Hash)

    parsed
  rescue JSON::ParserError => e
    raise InvalidArgs, "the args are no JSON: #{e.message}"
  end
end

# Takes `seconds`, then fails with the message `fail`, or returns the args as they came.
def rehearse(job)
  args = job.args
  seconds = args.fetch("seconds", 0)
  unless seconds.is_a?(Numeric) && !seconds.negative?
    raise InvalidArgs, "`seconds` must be a number, 0 or more"
  end

  sleep(seconds)
  raise args["fail"].to_s if args.key?("fail")

  Verbatim.new(job.body)
end

SENTENCE_END = /(?<=[.!?…])\s+|(?<=[。！？])/

# Counts the sentences of `text`, and finds the first of the longest ones.
def sentences(job)
  text = job.args["text"]
  raise InvalidArgs, "`text` must be a string" unless text.is_a?(String)

  found = text.split(SENTENCE_END).map(&:strip).reject(&:empty?)
  { sentences: found.size, longest: found.max_by(&:length) || "" }
end

HANDLERS = {
  "rehearsal.ruby" => method(:rehearse),
  "text.sentences" => method(:sentences)
}.freeze
