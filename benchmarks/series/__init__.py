"""Anomalies in series: public series beside the usual detectors, false alarms on dependent data, and a planted year."""
