-- id
if call('HGET', job_key(ARGV[1]), 'class') ~= 'jobs' then return false end
return call('HMGET', job_key(ARGV[1]), 'label', 'created', 'finished', 'queued', 'running', 'done', 'failed')
